module cutwater/peer

go 1.24
