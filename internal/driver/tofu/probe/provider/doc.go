// Package provider runs processes of providers of OpenTofu and Terraform, and
// asks them to read. It speaks protocols 5 and 6.
//
// A Process can do nothing but answer what is: there is no method to plan or
// apply, no type of this package stands for such a call, and the connection
// refuses any but the few calls that reading takes.
//
// The package knows neither states nor modules, and decides nothing: what a
// difference means is its caller's to say.
package provider
