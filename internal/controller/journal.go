package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
)

const (
	journalPrefix = "plumb-intents-"
	journalKey    = "intents"
	// journalPages is how many intents can be written at once. Each page is a
	// ConfigMap of its own, so that a write is small and waits for few others.
	journalPages = 16
)

// Journal keeps what Applications are about to make, in a few small ConfigMaps.
// A note there costs the API server a fraction of what a status costs. Nothing
// is written to take a note back: it goes when its page is written next, and
// until then it says no more than that the Application may hold something.
type Journal struct {
	client typedcorev1.ConfigMapInterface
	mu     sync.Mutex
	pages  []*page
}

// page is one ConfigMap.
type page struct {
	name string
	// writing is held during a write; version is of the last one.
	writing sync.Mutex
	version string
	// users count those that write or wait to, and intents are by the
	// Application's UID; the journal's mu guards both.
	users   int
	intents map[string][]v1alpha1.InventoryEntry
}

var (
	_ engine.Intents = (*Journal)(nil)

	errJournalDamaged = errors.New("it was damaged")
)

// OpenJournal reads what an earlier process has left. Only who leads may have it
// open.
func OpenJournal(ctx context.Context, config *rest.Config, log *slog.Logger) (*Journal, error) {
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for intents: %w", err)
	}
	j := &Journal{client: client.ConfigMaps(SystemNamespace)}
	for i := range journalPages {
		p := &page{name: fmt.Sprint(journalPrefix, i), intents: map[string][]v1alpha1.InventoryEntry{}}
		j.pages = append(j.pages, p)
		switch err := j.read(ctx, p); {
		case errors.Is(err, errJournalDamaged):
			// To stop all Applications for it would do more harm.
			log.Error("what was about to be made when the last process ended is not known: objects that have left Git since then may stay behind", "error", err)
		case err != nil:
			return nil, err
		}
	}
	return j, nil
}

// read takes up what is written on a page and not known here.
func (j *Journal) read(ctx context.Context, p *page) error {
	written, err := j.client.Get(ctx, p.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		p.version = ""
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ConfigMap %s/%s: %w", SystemNamespace, p.name, err)
	}
	p.version = written.ResourceVersion
	found := map[string][]v1alpha1.InventoryEntry{}
	if text := written.Data[journalKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			return fmt.Errorf("read the ConfigMap %s/%s: %w: %w", SystemNamespace, p.name, errJournalDamaged, err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for uid, entries := range found {
		if _, known := p.intents[uid]; !known {
			p.intents[uid] = entries
		}
	}
	return nil
}

// Intended gives what is noted of an Application.
func (j *Journal) Intended(uid string) []plan.Ref {
	j.mu.Lock()
	defer j.mu.Unlock()
	var refs []plan.Ref
	for _, p := range j.pages {
		for _, e := range p.intents[uid] {
			if group, kind, namespace, name, ok := e.Split(); ok {
				refs = append(refs, plan.Ref{Group: group, Version: e.Version, Kind: kind, Namespace: namespace, Name: name})
			}
		}
	}
	return refs
}

// Intend notes what an Application is about to make, and returns when it is
// written.
func (j *Journal) Intend(ctx context.Context, uid string, refs []plan.Ref) error {
	j.mu.Lock()
	p := j.pageFor(uid)
	p.users++
	for _, r := range refs {
		p.intents[uid] = append(p.intents[uid], v1alpha1.InventoryEntry{
			ID: v1alpha1.InventoryID(r.Group, r.Kind, r.Namespace, r.Name), Version: r.Version,
		})
	}
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		p.users--
		j.mu.Unlock()
	}()
	return j.write(ctx, p)
}

// pageFor is the page that has the Application already, or the one with the
// least to do.
func (j *Journal) pageFor(uid string) *page {
	best := j.pages[0]
	for _, p := range j.pages {
		if _, ok := p.intents[uid]; ok {
			return p
		}
		if p.users < best.users || p.users == best.users && len(p.intents) < len(best.intents) {
			best = p
		}
	}
	return best
}

// Fulfil forgets an Application's notes.
func (j *Journal) Fulfil(uid string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.pages {
		delete(p.intents, uid)
	}
}

// Retain forgets the notes of all Applications but the known ones.
func (j *Journal) Retain(known func(uid string) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.pages {
		for uid := range p.intents {
			if !known(uid) {
				delete(p.intents, uid)
			}
		}
	}
}

// write makes a page say what is intended, again after somebody else wrote it.
func (j *Journal) write(ctx context.Context, p *page) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	for attempt := 0; ; attempt++ {
		err := j.put(ctx, p)
		if err == nil || attempt == editAttempts || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
		if err := j.read(ctx, p); err != nil && !errors.Is(err, errJournalDamaged) {
			return err
		}
	}
}

func (j *Journal) put(ctx context.Context, p *page) error {
	j.mu.Lock()
	text, err := json.Marshal(p.intents)
	j.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode the intents: %w", err)
	}
	body := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: SystemNamespace, Name: p.name, ResourceVersion: p.version,
			Labels: map[string]string{v1alpha1.LabelPartOf: v1alpha1.LabelPartOfValue},
		},
		Data: map[string]string{journalKey: string(text)},
	}
	var written *corev1.ConfigMap
	if p.version == "" {
		written, err = j.client.Create(ctx, body, metav1.CreateOptions{FieldManager: fieldManager})
	} else {
		written, err = j.client.Update(ctx, body, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return fmt.Errorf("write the ConfigMap %s/%s: %w", SystemNamespace, p.name, err)
	}
	p.version = written.ResourceVersion
	return nil
}
