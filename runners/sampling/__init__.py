"""From problems to rollouts: environments and an agent, episodes, refills. Neither ray nor torch in here."""
