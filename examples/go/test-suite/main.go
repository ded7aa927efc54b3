// Tests in parallel: when a critical one fails, those that have not begun are removed.
package main

import (
	"context"
	"fmt"

	"toril"
)

type test struct {
	Type   string `json:"type"`
	Broken bool   `json:"broken"`
}

func run(ctx context.Context, job *toril.Job, data test) (map[string]string, error) {
	if data.Broken {
		return nil, fmt.Errorf("%s tests failed", data.Type)
	}
	return map[string]string{"passed": data.Type}, nil
}

func collect(ctx context.Context, job *toril.Job) (any, error) {
	failed, err := job.FailedChildrenValues()
	if err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		if _, err := job.RemoveUnprocessedChildren(); err != nil {
			return nil, err
		}
		return map[string]any{
			"status":      "failed",
			"failedTests": failed,
			"message":     "Test suite aborted due to critical failure",
		}, nil
	}
	results, err := job.ChildrenValues()
	return map[string]any{"status": "passed", "results": results}, err
}

func main() {
	toril.ServeQueue("test-runner", toril.Typed(run))
	toril.ServeQueue("test-results", collect)
}
