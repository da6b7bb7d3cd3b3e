//! Neural differential equations that learn to need fewer steps.
