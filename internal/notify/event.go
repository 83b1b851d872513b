package notify

import (
	"maps"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Event is something that happened to an Application, or the news that its
// state is another now. Whoever hands one over does not change it afterwards.
type Event struct {
	// ID tells this event from every other: one that was seen is not sent again.
	ID   string    `json:"id,omitempty"`
	Time time.Time `json:"time,omitzero"`
	// Trigger names what happened. Without one, the event says that the
	// Application's state may be another: the conditions of all triggers are
	// looked at.
	Trigger     Trigger     `json:"trigger,omitempty"`
	Application Application `json:"application"`
	Project     Project     `json:"project,omitzero"`
	// Title and Message are what a person reads first, and in full.
	Title   string `json:"title,omitempty"`
	Message string `json:"message,omitempty"`
	// Before and After are the Application's state around the event.
	Before State  `json:"before,omitzero"`
	After  State  `json:"after,omitzero"`
	Commit Commit `json:"commit,omitzero"`
	// Operation is the phase of the sync: Running, Succeeded, Failed, Error.
	Operation string `json:"operation,omitempty"`
	Plan      *Plan  `json:"plan,omitempty"`
	// Actor is who did it.
	Actor string `json:"actor,omitempty"`
	Links []Link `json:"links,omitempty"`

	// Known tells that what holds of the Application is no news: it is only noted.
	Known bool `json:"-"`
	// Object is the Application as it is, for templates and conditions; it may
	// be missing. Templates see it without credentials.
	Object *v1alpha1.Application `json:"-"`
}

// Application is what the event is about.
type Application struct {
	Namespace   string            `json:"namespace,omitempty"`
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"-"`
	CreatedAt   time.Time         `json:"-"`
}

// Key names the Application in messages.
func (a Application) Key() string {
	if a.Namespace == "" {
		return a.Name
	}
	return a.Namespace + "/" + a.Name
}

// Project is the Application's project, whose annotations subscribe as well.
type Project struct {
	Name        string            `json:"name,omitempty"`
	Annotations map[string]string `json:"-"`
}

// State is how an Application stands.
type State struct {
	Sync   string `json:"sync,omitempty"`
	Health string `json:"health,omitempty"`
}

// Commit is what Git says of the revision.
type Commit struct {
	Revision string    `json:"revision,omitempty"`
	Author   string    `json:"author,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Message  string    `json:"message,omitempty"`
	Date     time.Time `json:"date,omitzero"`
}

// Plan is what is going to change, or has changed.
type Plan struct {
	Name    string `json:"name,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Create  int    `json:"create"`
	Update  int    `json:"update"`
	Replace int    `json:"replace"`
	Delete  int    `json:"delete"`
}

// Link leads to more.
type Link struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// complete takes from the object what the event does not say itself.
func (e Event) complete(now time.Time) Event {
	if e.Time.IsZero() {
		e.Time = now
	}
	o := e.Object
	if o == nil {
		if e.Application.Name == "" { // a project as a whole
			e.Application.Name = "project " + e.Project.Name
		}
		return e
	}
	a := &e.Application
	if a.Name == "" {
		a.Namespace, a.Name = o.Namespace, o.Name
	}
	if a.Labels == nil {
		a.Labels = maps.Clone(o.Labels)
	}
	if a.Annotations == nil {
		a.Annotations = maps.Clone(o.Annotations)
	}
	if a.CreatedAt.IsZero() {
		a.CreatedAt = o.CreationTimestamp.Time
	}
	if e.Project.Name == "" {
		e.Project.Name = o.Spec.Project
	}
	if e.After == (State{}) {
		e.After = State{Sync: string(o.Status.Sync.Status), Health: string(o.Status.Health.Status)}
	}
	if e.Commit.Revision == "" {
		e.Commit.Revision = o.Status.Sync.Revision
	}
	if op := o.Status.OperationState; op != nil && e.Operation == "" {
		e.Operation = string(op.Phase)
	}
	return e
}
