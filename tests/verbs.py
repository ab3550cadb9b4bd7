"""What tests of the command line share."""


def refused(result, *parts, code=2):
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
