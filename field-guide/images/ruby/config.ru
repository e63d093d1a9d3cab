# /slow takes 2 s.
run lambda { |environment|
  sleep 2 if environment["PATH_INFO"].start_with?("/slow")
  [200, {"Content-Length" => "3"}, ["ok\n"]]
}
