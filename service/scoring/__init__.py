"""From wire items to rewards and replies, for every route that scores."""
