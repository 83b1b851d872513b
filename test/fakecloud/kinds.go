package fakecloud

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Regions are where objects can be.
var Regions = []string{"eu-west-1", "us-east-1", "ap-south-1"}

const (
	account   = "000042"
	imageKind = "image"
)

// images are what the cloud offers in each region.
var images = []string{"debian-13", "ubuntu-24.04", "ubuntu-26.04"}

// kind says what the cloud itself does with the objects of one kind.
type kind struct {
	prefix   string
	required []string
	// unique is a field that no two objects of a region may share.
	unique string
	// cidr is a field that must be a network.
	cidr string
	// refs are fields that name other objects, by the kind of these.
	refs map[string]string
	// compute sets the fields that are the cloud's own to set.
	compute func(c *Cloud, o *object)
	// read changes what changes by itself.
	read func(c *Cloud, o *object)
}

var kinds = map[string]kind{
	"vpc": {
		prefix: "vpc", required: []string{"cidr_block"}, cidr: "cidr_block",
		compute: func(_ *Cloud, o *object) {
			o.Body["owner_id"] = account
			o.Body["main_route_table_id"] = "rtb-" + o.number()
			o.Body["default_security_group_id"] = "sgd-" + o.number()
		},
	},
	"subnet": {
		prefix: "subnet", required: []string{"vpc_id", "cidr_block"}, cidr: "cidr_block",
		refs: map[string]string{"vpc_id": "vpc"},
		compute: func(_ *Cloud, o *object) {
			o.initial("availability_zone", o.Region+"a")
			o.initial("available_ips", json.Number("251"))
		},
	},
	"security_group": {
		prefix: "sg", required: []string{"name", "vpc_id"}, unique: "name",
		refs:    map[string]string{"vpc_id": "vpc"},
		compute: func(_ *Cloud, o *object) { o.Body["owner_id"] = account },
	},
	"instance": {
		prefix: "i", required: []string{"ami", "instance_type"},
		refs:    map[string]string{"subnet_id": "subnet", "vpc_security_group_ids": "security_group"},
		compute: computeInstance,
	},
	"bucket": {
		prefix: "b", required: []string{"name"}, unique: "name",
		compute: func(_ *Cloud, o *object) {
			o.initial("last_accessed", "")
			o.initial("access_count", json.Number("0"))
			o.initial("size_bytes", json.Number("0"))
			o.Body["domain_name"] = fmt.Sprintf("%s.%s.buckets.example", o.Body["name"], o.Region)
		},
		read: func(c *Cloud, o *object) {
			count, _ := strconv.Atoi(fmt.Sprint(o.Body["access_count"]))
			o.Body["access_count"] = json.Number(strconv.Itoa(count + 1))
			o.Body["last_accessed"] = c.now().UTC().Format(time.RFC3339Nano)
		},
	},
	"secret": {
		prefix: "sec", required: []string{"name"}, unique: "name",
		compute: func(_ *Cloud, o *object) { o.Body["version_id"] = digest(o.Body["value"], o.Body["value_wo"]) },
	},
	"record": {
		prefix: "rec", required: []string{"name"},
		compute: func(_ *Cloud, o *object) { o.Body["fqdn"] = fmt.Sprint(o.Body["name"], ".", o.Region, ".example") },
	},
	"thing": {prefix: "thing", required: []string{"name"}, compute: computeThing},
	"image": {prefix: "ami", required: []string{"name"}, compute: func(_ *Cloud, o *object) { o.initial("architecture", "x86_64") }},
}

func computeInstance(_ *Cloud, o *object) {
	n := ordinal(o.ID)
	o.initial("state", "running")
	o.initial("availability_zone", o.Region+"a")
	o.initial("private_ip", fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
	if public, _ := o.Body["public"].(bool); public {
		o.initial("public_ip", fmt.Sprintf("203.%d.%d.%d", n>>16&255, n>>8&255, n&255))
	} else {
		o.Body["public_ip"] = nil
	}
	o.initial("password", "pw-"+digest(o.ID))
	o.initial("launch_time", o.Created.UTC().Format(time.RFC3339))
	root, _ := o.Body["root_disk"].(map[string]any)
	if root == nil {
		root = map[string]any{}
		o.Body["root_disk"] = root
	}
	initial(root, "volume_id", "vol-"+o.number())
	initial(root, "size", json.Number("8"))
	initial(root, "type", "ssd")
	initial(root, "encrypted", true)
}

// computeThing fills in what the creator left out of the optional and computed
// fields, and computes the rest anew.
func computeThing(_ *Cloud, o *object) {
	o.Body["computed"] = "computed-" + o.ID
	o.Body["revision"] = json.Number(strconv.Itoa(o.Generation))
	o.Body["fingerprint"] = digest(o.Body["name"], o.Body["string"], o.Body["number"])
	o.initial("optional_computed", "chosen-"+o.ID)
	o.initial("computed_list", []any{"a", o.ID})
	o.initial("computed_map", map[string]any{"id": o.ID})
	o.initial("computed_object", map[string]any{"zone": o.Region + "a", "weight": json.Number("10")})
	for _, field := range []string{"nested_list", "nested_set"} {
		elements, _ := o.Body[field].([]any)
		for _, element := range elements {
			computeElement(element)
		}
	}
	nested, _ := o.Body["nested_map"].(map[string]any)
	for _, element := range nested {
		computeElement(element)
	}
	computeElement(o.Body["nested"])
}

func computeElement(element any) {
	if fields, ok := element.(map[string]any); ok {
		fields["uid"] = "u-" + digest(fields["key"])
	}
}

// check tells what is wrong with an object that is to be.
func (c *Cloud) check(k kind, kindName, region, id string, body map[string]any) error {
	if !slices.Contains(Regions, region) {
		return fmt.Errorf("there is no region %q (there are %s): %w", region, strings.Join(Regions, ", "), ErrInvalid)
	}
	for _, field := range k.required {
		if body[field] == nil {
			return fmt.Errorf("%s needs %s: %w", kindName, field, ErrInvalid)
		}
	}
	if k.cidr != "" {
		if _, err := netip.ParsePrefix(fmt.Sprint(body[k.cidr])); err != nil {
			return fmt.Errorf("%s of %s is no network: %w", k.cidr, kindName, ErrInvalid)
		}
	}
	for field, of := range k.refs {
		for _, ref := range referred(body[field]) {
			if o, err := c.live(ref); err != nil || o.Kind != of {
				return fmt.Errorf("%s %q, which the %s names as %s, does not exist: %w", of, ref, kindName, field, ErrInvalid)
			}
		}
	}
	if k.unique == "" {
		return nil
	}
	for _, o := range c.objects {
		if !o.deleted && o.ID != id && o.Kind == kindName && o.Region == region && o.Body[k.unique] == body[k.unique] {
			return fmt.Errorf("a %s with the %s %q exists: %w", kindName, k.unique, body[k.unique], ErrConflict)
		}
	}
	return nil
}

func (c *Cloud) compute(k kind, o *object) {
	o.Body["arn"] = fmt.Sprintf("arn:fake:%s:%s:%s/%s", o.Region, account, o.Kind, o.ID)
	k.compute(c, o)
}

// uses tells whether an object of this kind names the given one.
func (k kind) uses(body map[string]any, kindName, id string) bool {
	for field, of := range k.refs {
		if of == kindName && slices.Contains(referred(body[field]), id) {
			return true
		}
	}
	return false
}

func referred(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var ids []string
		for _, v := range value {
			ids = append(ids, fmt.Sprint(v))
		}
		return ids
	}
	return nil
}

func (o *object) initial(field string, value any) { initial(o.Body, field, value) }

func initial(body map[string]any, field string, value any) {
	if body[field] == nil {
		body[field] = value
	}
}

func (o *object) number() string { return o.ID[strings.LastIndex(o.ID, "-")+1:] }

func ordinal(id string) int {
	n, _ := strconv.ParseInt(id[strings.LastIndex(id, "-")+1:], 16, 64)
	return int(n)
}

func digest(values ...any) string {
	text, _ := json.Marshal(values)
	return fmt.Sprintf("%x", sha256.Sum256(text))[:12]
}

// clone copies what is JSON, and turns what is not yet into what JSON makes of
// it.
func clone(body map[string]any) map[string]any {
	copied := map[string]any{}
	text, err := json.Marshal(body)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		err = decoder.Decode(&copied)
	}
	if err != nil {
		panic(fmt.Sprintf("fakecloud: a body that is no JSON: %v", err))
	}
	if copied == nil {
		copied = map[string]any{}
	}
	return copied
}

func byID(a, b map[string]any) int { return cmp.Compare(fmt.Sprint(a["id"]), fmt.Sprint(b["id"])) }
