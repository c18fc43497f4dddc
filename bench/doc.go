// Bench measures the gateway beside Postfix, and tortures it.
//
//	go run ./bench                 # make bench: the table, in about five minutes
//	go run ./bench -time 20s       # the same, longer
//	go test ./bench                # the torture in its short form
//	go test ./bench -args -long    # make torture
//
// Everything it starts listens on loopback only, lives in a temporary directory, and is
// gone when it ends. How to read the table is said in docs/performance.md.
package main
