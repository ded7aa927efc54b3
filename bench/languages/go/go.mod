module trivial

go 1.24

require toril v0.0.0

replace toril => ../../../sdk/go
