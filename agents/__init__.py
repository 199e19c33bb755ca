"""What runs on every record: Faust feeds the folds and performs their effects."""
