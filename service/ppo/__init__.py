"""/ppo_reward: from a request to whitened and shaped rewards, counted once."""
