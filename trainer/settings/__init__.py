"""The run's settings: flags, configuration, choices, identity, the plan in steps."""
