// Returns at once; a job named `sleep` waits for as many milliseconds as its data say.
package main

import (
	"context"
	"encoding/json"
	"time"

	"toril"
)

func process(_ context.Context, job *toril.Job) (any, error) {
	if job.Name() == "sleep" {
		var milliseconds int
		if err := json.Unmarshal(job.Data(), &milliseconds); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	}
	return 1, nil
}

func main() { toril.Serve(process) }
