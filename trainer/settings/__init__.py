"""What the user asked for: flags, configuration, choices, identity, the plan in steps."""
