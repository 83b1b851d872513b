// Package module evaluates what a module of OpenTofu or Terraform configures
// its providers with, without OpenTofu: from variables, locals and functions.
//
// Whatever needs more (a resource, a data source, a function that is not known
// here, a file outside of the tree) is not guessed: the error is a
// DependsError, which names it with file and line. It knows nothing of
// resources, and reads nothing but files below one folder.
package module
