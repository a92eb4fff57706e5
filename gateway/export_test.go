package gateway

import "time"

// ShortenWatches makes streams of changes end sooner.
func (s *Service) ShortenWatches(life time.Duration) { s.watchLife = life }
