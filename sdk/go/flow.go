//go:build wasip1

package toril

import (
	"encoding/json"
	"errors"
	"unsafe"

	"toril/internal/host"
)

// FlowJob is a tree of jobs: a parent runs when its children have ended.
type FlowJob struct {
	Name      string      `json:"name"`
	QueueName string      `json:"queueName"`
	Data      any         `json:"data"`
	Opts      *JobOptions `json:"opts,omitempty"`
	Children  []FlowJob   `json:"children,omitempty"`
}

// FlowNode is a job of a flow that was added.
type FlowNode struct {
	ID        string     `json:"id"`
	Key       string     `json:"key"`
	Name      string     `json:"name"`
	QueueName string     `json:"queueName"`
	Children  []FlowNode `json:"children"`
}

// AddFlow adds a flow, all jobs or none.
func AddFlow(flow FlowJob) (FlowNode, error) {
	nodes, err := AddFlows([]FlowJob{flow})
	if err == nil && len(nodes) == 0 {
		err = errors.New("host returned no flow")
	}
	if err != nil {
		return FlowNode{}, err
	}
	return nodes[0], nil
}

// AddFlows adds several flows, all jobs of all of them or none.
func AddFlows(flows []FlowJob) (nodes []FlowNode, err error) {
	err = askJSON("flows", flows, &nodes, func(flows string, ret unsafe.Pointer) { host.AddFlows(flows, "{}", ret) })
	return nodes, err
}

// Flow reads the flow below a job, with the state of each job. The result is null if there is no such job.
func (q Queue) Flow(id string, depth, maxChildren int) (flow json.RawMessage, err error) {
	id = host.Valid(id)
	query := map[string]int{"depth": depth, "maxChildren": maxChildren}
	err = askJSON("flow", query, &flow, func(query string, ret unsafe.Pointer) { host.GetFlow(q.Name, id, query, ret) })
	return flow, err
}
