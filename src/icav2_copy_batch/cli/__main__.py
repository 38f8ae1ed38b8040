"""``python -m icav2_copy_batch.cli`` is ``icav2-copy``, where the package is not installed."""

from icav2_copy_batch.cli.main import app

if __name__ == "__main__":
    app(prog_name="icav2-copy")
