package routing

// crew is the workers of a Runner, as its scheduler counts them.
type crew struct {
	jobs chan Job
	done chan finished // a worker came free

	bytes int64 // of the messages that are being sent

	idle int // workers without a job, and not lent
	// room is how many more jobs below Urgent may be begun. It can be more or less than
	// there are idle workers; the share that it leaves is a reserve, so that what is urgent
	// finds a worker though all others wait for slow servers.
	room int
}

// finished is a job that a worker has done.
type finished struct {
	ordinary bool
	size     int64
}

func finish(j *Job) finished { return finished{j.Delivery.Priority < Urgent, j.Message.Size} }

// reserve is which share of the workers is kept for what is urgent.
const reserve = 8

func newCrew(workers int) *crew {
	return &crew{jobs: make(chan Job), done: make(chan finished, workers), idle: workers, room: workers - workers/reserve}
}

// gather counts the workers that have come free.
func (c *crew) gather() {
	for {
		select {
		case f := <-c.done:
			c.free(f)
		default:
			return
		}
	}
}

func (c *crew) free(f finished) {
	c.idle++
	c.bytes -= f.size
	if f.ordinary {
		c.room++
	}
}

// take counts a job that an idle worker gets.
func (c *crew) take(j *Job) {
	c.idle--
	if j.Delivery.Priority < Urgent {
		c.room--
	}
	c.begin(j)
}

// begin hands a job to a worker.
func (c *crew) begin(j *Job) {
	c.bytes += j.Message.Size
	c.jobs <- *j
}
