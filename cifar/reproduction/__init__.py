"""A recorded run trained again: what differs from then, and if the same weights and metrics come out."""
