module toril

go 1.24
