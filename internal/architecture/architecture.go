// Package architecture holds nothing but a test: who may import whom, and why.
package architecture
