"""HTTP/1.1 from the client's side (RFC 9112): what it takes to hand requests on, and nothing else (docs/adr/0025)."""
