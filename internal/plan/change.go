package plan

// Action is the word for a kind of change.
type Action string

// The closed set of actions.
const (
	ActionCreate  Action = "create"
	ActionUpdate  Action = "update"
	ActionReplace Action = "replace"
	ActionDelete  Action = "delete"
	ActionForget  Action = "forget"
)

// State is a resource as it is or will be, with Secrets already masked by the
// driver: what is in a State may be shown. Hash is taken of the unmasked
// content, so two states that look alike but hide different values differ.
type State struct {
	Hash   string         `json:"hash,omitempty"`
	Object map[string]any `json:"object,omitempty"`
}

// Change is one intended step on one resource. The set is closed: Create,
// Update, Replace, Delete, Forget.
type Change interface {
	// Target is the resource that changes.
	Target() Ref
	// Action is the word for the change.
	Action() Action
	// Risk says what could be lost by it.
	Risk() Risk
	change()
}

// Risk says what a change may cost.
type Risk struct {
	// Destroys is true where something that exists ceases to be.
	Destroys bool `json:"destroys,omitempty"`
	// Irreversible is true where reverting the commit does not bring it back.
	Irreversible bool `json:"irreversible,omitempty"`
}

// Create makes a resource that does not exist.
type Create struct {
	Resource Ref   `json:"resource"`
	After    State `json:"after"`
}

// Update changes a resource in place.
type Update struct {
	Resource Ref   `json:"resource"`
	Before   State `json:"before"`
	After    State `json:"after"`
	// Drift is true where the live side moved, not the declared one.
	Drift bool `json:"drift,omitempty"`
	// Import is what the destination knows the resource by where it exists and is
	// taken under management by this step. From is the address that it had before,
	// where it has been given another. An Update may be only that: Before and
	// After are alike then.
	Import string  `json:"import,omitempty"`
	From   Address `json:"from,omitempty"`
}

// Replace deletes a resource and makes it anew, because it cannot be changed
// in place or because it was asked for.
type Replace struct {
	Resource Ref    `json:"resource"`
	Before   State  `json:"before"`
	After    State  `json:"after"`
	Reason   string `json:"reason,omitempty"`
}

// Delete removes a resource that is no longer declared.
type Delete struct {
	Resource Ref   `json:"resource"`
	Before   State `json:"before"`
}

// Forget lets a resource go out of management without deleting it.
type Forget struct {
	Resource Ref   `json:"resource"`
	Before   State `json:"before"`
}

func (c Create) Target() Ref  { return c.Resource }
func (c Update) Target() Ref  { return c.Resource }
func (c Replace) Target() Ref { return c.Resource }
func (c Delete) Target() Ref  { return c.Resource }
func (c Forget) Target() Ref  { return c.Resource }

func (Create) Action() Action  { return ActionCreate }
func (Update) Action() Action  { return ActionUpdate }
func (Replace) Action() Action { return ActionReplace }
func (Delete) Action() Action  { return ActionDelete }
func (Forget) Action() Action  { return ActionForget }

func (Create) Risk() Risk  { return Risk{} }
func (Update) Risk() Risk  { return Risk{} }
func (Replace) Risk() Risk { return Risk{Destroys: true, Irreversible: true} }
func (Delete) Risk() Risk  { return Risk{Destroys: true} }
func (Forget) Risk() Risk  { return Risk{} }

func (Create) change()  {}
func (Update) change()  {}
func (Replace) change() {}
func (Delete) change()  {}
func (Forget) change()  {}
