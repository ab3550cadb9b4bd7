"""Laws of motion and their integration."""
