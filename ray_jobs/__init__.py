"""What runs on a snapshot: Ray jobs that train and evaluate models."""
