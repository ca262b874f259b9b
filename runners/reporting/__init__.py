"""report.html: what a run or an evaluation left, as one page that is opened from disk."""
