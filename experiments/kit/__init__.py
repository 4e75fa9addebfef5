"""What the experiments share, and no more. Importing it loads nothing but the standard library."""
