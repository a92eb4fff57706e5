// Package program makes a service a program: its command line, its configuration, its operations listener, starting while its
// dependencies are not there yet, and draining. The five mains in cmd/ say what differs and nothing else; internal/allinone
// makes its servers here too, so that one process and five behave alike.
//
// It knows no service and links none of what only some have: no SQL, no rule engine, no HTTP gateway.
package program
