"""The main job on recorded traffic: provision over REST, play carrier webhooks, compare each decision with the file."""
