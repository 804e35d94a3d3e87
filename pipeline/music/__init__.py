"""Music that the project makes itself: no network, no licence, and every true answer known."""
