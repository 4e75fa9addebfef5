"""What the fleet computes, as data: the catalogue of experiments."""
