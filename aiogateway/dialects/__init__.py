"""Wire formats: frames to neutral events and back."""
