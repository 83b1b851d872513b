package helm

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/plumb-dev/plumb/internal/render"
)

const schemaFile = "values.schema.json"

// validate checks the values against the schemas of a chart and its
// dependencies. Helm's own check would read local files and ask the network for
// what a schema refers to; this one does neither.
func (r *rendering) validate(ch *chart.Chart, values any) error {
	m, err := asMap(values)
	if err != nil {
		return r.at(schemaFile, err)
	}
	var problems []string
	r.validateChart(ch, m, &problems)
	if len(problems) == 0 {
		return nil
	}
	return r.at(schemaFile, fmt.Errorf("values don't meet the specifications of the schema(s) in the following chart(s):\n%s", strings.Join(problems, "\n")))
}

func asMap(values any) (map[string]any, error) {
	switch v := values.(type) {
	case common.Values:
		return v, nil
	case map[string]any:
		return v, nil
	}
	return nil, fmt.Errorf("values are not a map")
}

func (r *rendering) validateChart(ch *chart.Chart, values map[string]any, problems *[]string) {
	if len(ch.Schema) > 0 {
		if err := r.validateOne(ch, values); err != nil {
			*problems = append(*problems, ch.Name()+": "+err.Error())
		}
	}
	for _, sub := range subcharts(ch) {
		switch v := values[sub.Name()].(type) {
		case nil:
		case map[string]any:
			r.validateChart(sub, v, problems)
		default:
			*problems = append(*problems, fmt.Sprintf("%s: values of the chart are not a map", sub.Name()))
		}
	}
}

func (r *rendering) validateOne(ch *chart.Chart, values map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("unable to validate against the schema: %v", p)
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ch.Schema))
	if err != nil {
		return fmt.Errorf("invalid %s: %w", schemaFile, err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{warn: r.out.Warn, chart: path.Join(ch.ChartFullPath(), schemaFile)})
	if err := c.AddResource("urn:values.schema.json", doc); err != nil {
		return fmt.Errorf("invalid %s: %w", schemaFile, err)
	}
	schema, err := c.Compile("urn:values.schema.json")
	if err != nil {
		return fmt.Errorf("invalid %s: %w", schemaFile, err)
	}
	err = schema.Validate(values)
	if ve := (*jsonschema.ValidationError)(nil); errors.As(err, &ve) {
		_, details, ok := strings.Cut(ve.Error(), "\n")
		if ok {
			return errors.New(details)
		}
	}
	return err
}

// noLoader loads nothing. What a schema refers to elsewhere is taken to allow
// everything, with a warning; a local file is refused.
type noLoader struct {
	warn  func(string)
	chart string
}

// Load gives a schema that allows everything.
func (l noLoader) Load(url string) (any, error) {
	if strings.HasPrefix(url, "file:") {
		return nil, fmt.Errorf("%s refers to the file %s: a schema may only refer to itself: %w", l.chart, url, render.ErrUnsupported)
	}
	l.warn(fmt.Sprintf("%s refers to %s, which is not fetched: values are not checked against it", l.chart, url))
	return true, nil
}
