"""Many runs at once: what the larger commands do."""
