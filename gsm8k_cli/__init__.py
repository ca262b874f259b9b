"""The installed commands, and the doctor: what must work where runners/ or agents/ cannot be imported."""
