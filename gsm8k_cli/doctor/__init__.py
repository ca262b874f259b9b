"""Install trouble, named before it bites: `gsm8k-doctor`. Each file looks at one thing and returns findings."""
