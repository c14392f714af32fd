"""What every Kalpi service needs and no business noun."""
