"""The painting step: from planned samples to kept or rejected ones."""
