// Package notify tells people and programs what happens to Applications: it
// finds out who has subscribed, writes the messages by templates, groups them
// so that there is never a storm, and sends them by shoutrrr, HTTP and
// CloudEvents until they have arrived or cannot.
//
// It reads Argo CD's form of configuration (argocd-notifications-cm and the
// annotations of notifications.argoproj.io). It knows nothing of the engine,
// the ledger or Kubernetes' API: whoever uses it hands over events and the
// content of ConfigMaps and Secrets, and hears of failures by callbacks.
package notify
