"""assay bench verdicts: real crowds' votes through the real folds, against right answers and other people's aggregators."""
