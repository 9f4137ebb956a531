"""What guests are answered where Nova has nothing: Amazon's newer paths, NoCloud."""
