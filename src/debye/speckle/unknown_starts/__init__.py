"""What is learned where no start is known: from curved probes, or from correlations."""
