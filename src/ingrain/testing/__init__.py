"""What tests of programs that use Ingrain need: a fake engine."""
