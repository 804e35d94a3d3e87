"""What a card gives a separation: forwards, whole tracks, short memory, whole processes."""
