"""What several command lines share: options of the form NAME=VALUE, atomic files, provenance."""
