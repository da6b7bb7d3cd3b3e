//! Click-through rates by two perceptrons whose outputs meet in a bilinear form.
