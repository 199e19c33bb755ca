"""What was recorded: pydantic models and tables of constants, data only."""
