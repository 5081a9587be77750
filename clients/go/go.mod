module github.com/dlconf/dlconf/clients/go

go 1.24
