"""What is handed to others: exported models and leaderboards, made of records."""
