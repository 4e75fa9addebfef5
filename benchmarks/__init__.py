"""What must be fast, against what it is compared with, in the same run. One module a figure; `make bench` runs all."""
