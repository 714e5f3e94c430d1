"""What the frozen encoder is worth: kNN, linear and fast protocols, collapse, detection."""
